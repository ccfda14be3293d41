"""The policy that a command applies, or the baseline beside it, and the channels it looks at."""

from __future__ import annotations

from agglo.policy_file import Policy, load_policy


def load_applied(
    policy: str, *, baseline: bool, texture: str | None, embedding: str | None
) -> tuple[Policy, dict[str, str | None]]:
    """Read a policy, or make its baseline; return it and what is read of the channels given.

    Args:
        policy: its run folder or file.
        baseline: take mean boundary instead, which looks at no channels: those given are left out.
        texture: address of texture channels.
        embedding: address of an embedding.

    Raises:
        InputError: there is no policy that can be read.
    """
    loaded = load_policy(policy)
    if baseline:
        return loaded.baseline(), {"texture": None, "embedding": None}
    return loaded, {"texture": texture, "embedding": embedding}
