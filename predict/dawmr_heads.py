"""The perceptrons of a DAWMR iteration and their training, a batch of examples at a time.

The heads of one iteration are trained side by side on the same batches: head p on all examples but
those of piece p (`predict.cross_fitting`), the last one on all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize, special

from analysis.input_error import InputError
from predict.boundary_loss import hinge_loss
from predict.boundary_settings import BoundaryTraining
from predict.compute_device import ComputeDevice
from predict.dawmr import DawmrConfig, DawmrStage
from predict.dawmr_examples import Examples
from predict.learning_rate import one_cycle
from predict.training_loss import training_loss

State = dict[str, Any]

STEP_EXAMPLES = 1024
"""Examples of a step; making features costs more than learning from them.

Of 295,000 examples of FIB-25 seen once, steps of 8192, 2048 and 1024 gave a boundary map with an
average precision of 0.635, 0.735 and 0.752 where nothing was trained.
"""

LEAST_DEVIATION = 1e-3
"""Features that vary less are not scaled up any further."""


def start_heads(
    network: DawmrConfig, iteration: int, training: BoundaryTraining, n_heads: int, *, fold: int = 0
) -> State:
    """Return the state of the heads of an iteration before their first step.

    Args:
        network: shape of all iterations.
        iteration: index of this one.
        training: settings; the seed among them.
        n_heads: heads to be trained.
        fold: index of the model.
    """
    seed = np.random.SeedSequence([training.seed, fold, iteration, 3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed.generate_state(1, np.uint32)[0]))
        stages = [network.build_stage(iteration) for _ in range(n_heads)]
    heads = [head_weights(stage) for stage in stages]
    return {"step": 0, "heads": heads, "optimiser": None, "class_weights": torch.ones(4, 2)}


def head_weights(stage: DawmrStage) -> dict[str, torch.Tensor]:
    """Return the parameters of a stage's head, without dictionaries and standardisation."""
    return {name: p.detach().cpu().clone() for name, p in stage.named_parameters()}


def measure_features(
    batches: Sequence[Examples], balance: float
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return what brings features to mean 0 and deviation 1, and the weights of the classes.

    Args:
        batches: some batches of examples.
        balance: see `BoundaryTraining`.

    Returns:
        shift and scale, each (n_features,) float32, and (4, 2) float32 weights of class 0 and 1 of
        the boundary and every affinity.
    """
    count = sum(len(batch.features) for batch in batches)
    if count == 0:
        raise InputError("labels have no labelled edge in the part to train on.")
    total = sum(batch.features.sum(axis=0, dtype=np.float64) for batch in batches)
    squares = sum(np.square(batch.features, dtype=np.float64).sum(axis=0) for batch in batches)
    mean = np.asarray(total) / count
    deviation = np.sqrt(np.maximum(0, np.asarray(squares) / count - mean * mean))
    positive = np.sum([(batch.target * batch.known).sum(axis=0) for batch in batches], axis=0)
    known = np.sum([batch.known.sum(axis=0) for batch in batches], axis=0)
    if (positive == known)[1:].all():
        raise InputError("labels have no boundary in the part to train on.")
    frequency = positive / np.maximum(known, 1)
    pair = np.stack([1 - frequency, frequency], axis=1).clip(0.01, 0.99)
    weights = pair**-balance
    weights /= (weights * pair).sum(axis=1, keepdims=True)
    standard = {
        "shift": torch.tensor(mean, dtype=torch.float32),
        "scale": torch.tensor(np.maximum(deviation, LEAST_DEVIATION), dtype=torch.float32),
    }
    return standard, torch.tensor(weights, dtype=torch.float32)


class HeadTrainer:
    """Train the heads of one iteration; its whole state can be taken out and put back."""

    def __init__(
        self,
        network: DawmrConfig,
        iteration: int,
        training: BoundaryTraining,
        device: ComputeDevice,
        standard: dict[str, torch.Tensor],
        state: State,
        *,
        fold: int = 0,
    ) -> None:
        """Go on from a state, of `start_heads` or of `state` of another trainer."""
        self.network, self.training, self.device = network, training, device
        self.seeds = (training.seed, fold, iteration, 4)
        self.step_index = state["step"]
        self.class_weights = state["class_weights"].to(device.torch_device)
        self.stages = []
        for weights in state["heads"]:
            stage = network.build_stage(iteration)
            stage.load_state_dict({**weights, **standard}, strict=False)
            self.stages.append(stage.to(device.torch_device).train())
        parameters = [p for stage in self.stages for p in stage.parameters()]
        self.optimiser = torch.optim.AdamW(
            parameters, lr=training.learning_rate, weight_decay=training.weight_decay
        )
        if state["optimiser"] is not None:
            self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))

    def step(self, examples: Examples, progress: float) -> float:
        """Learn from a batch, about `STEP_EXAMPLES` at a time, and return the heads' mean loss.

        Args:
            examples: of `ExampleSampler.examples`, or `whole_cube` for a structured loss, which
                takes all of it in one go.
            progress: share of the run that is done.
        """
        seed = np.random.SeedSequence([*self.seeds, self.step_index])
        self.step_index += 1
        n_examples = len(examples.features)
        if n_examples == 0:
            return 0.0
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate * one_cycle(progress, self.training.warm_up)
        order, n_steps = np.arange(n_examples), 1
        if examples.labels is None:
            order = np.random.default_rng(seed).permutation(n_examples)
            n_steps = max(1, round(n_examples / STEP_EXAMPLES))
        device = self.device.torch_device
        losses = []
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(seed.generate_state(1, np.uint32)[0]))
            for chosen in np.array_split(order, n_steps):
                losses += self._update(examples, chosen)
        return float(np.mean(losses)) if losses else 0.0

    def _update(self, examples: Examples, chosen: npt.NDArray[np.int64]) -> list[float]:
        """Take a step with some of the examples and return the loss of each head that saw any."""
        device = self.device.torch_device
        features = torch.from_numpy(examples.features[chosen]).to(device)
        features = features.to(torch.bfloat16 if self.device.bfloat16 else torch.float32)
        target, known = (
            torch.from_numpy(array[chosen].astype(np.float32)).to(device)
            for array in (examples.target, examples.known)
        )
        part = torch.from_numpy(examples.part[chosen].astype(np.int64)).to(device)
        losses = []
        for head, stage in enumerate(self.stages):
            seen = part != head
            if bool(seen.any()):
                with self.device.autocast():
                    logits = stage.head(features[seen])
                losses.append(self._loss(logits.float(), target[seen], known[seen], examples))
        if not losses:
            return []
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        for stage in self.stages:
            torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        self.optimiser.step()
        return [float(loss.detach()) for loss in losses]

    def state(self) -> State:
        """Return everything a trainer needs to go on."""
        return {
            "step": self.step_index,
            "heads": [head_weights(stage) for stage in self.stages],
            "optimiser": self.optimiser.state_dict(),
            "class_weights": self.class_weights.cpu(),
        }

    def _loss(
        self, logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, examples: Examples
    ) -> torch.Tensor:
        """Return the loss of one head's logits; these, target and known are (m, 4)."""
        cube = examples.labels
        shape = (len(logits), 1, 1) if cube is None else cube.shape
        logits, target, known = (
            array.T.reshape(1, -1, *shape) for array in (logits, target, known)
        )
        labels = np.zeros(shape, np.int64) if cube is None else np.array(cube)
        options: dict[str, Any] = {
            "network_config": self.network,
            "training": self.training,
            "structured": cube is not None,
        }
        if self.network.hidden == 0:
            return hinge_loss(logits, target, known, self.class_weights)
        return training_loss(
            *(logits, target, known, torch.from_numpy(labels)[None].to(logits.device)),
            *(self.class_weights,),
            **options,
        )


def calibrated(
    heads: Sequence[dict[str, torch.Tensor]],
    logits: Sequence[npt.NDArray[np.float32]],
    targets: Sequence[npt.NDArray[np.float32]],
) -> list[dict[str, torch.Tensor]]:
    """Return linear heads whose outputs are logits of probabilities.

    Args:
        heads: weights of linear heads (`DawmrStage.first`); all get the same scaling.
        logits: of every channel on voxels that nothing was trained on, (m_c,) each.
        targets: of the same voxels or edges, 0 or 1; a channel without both of them stays as it is.
    """
    scaling = [
        platt_scale(out, truth) if truth.any() and not truth.all() else (1.0, 0.0)
        for out, truth in zip(logits, targets, strict=True)
    ]
    factor, shift = (
        torch.tensor(values, dtype=torch.float32) for values in zip(*scaling, strict=True)
    )
    return [
        {
            **head,
            "first.weight": head["first.weight"] * factor[:, None],
            "first.bias": head["first.bias"] * factor + shift,
        }
        for head in heads
    ]


def platt_scale(
    logits: npt.NDArray[np.float32], target: npt.NDArray[np.float32]
) -> tuple[float, float]:
    """Return a and b for which sigmoid(a · logit + b) has the highest class-balanced likelihood.

    Platt 1999 ("Probabilistic outputs for support vector machines").

    Args:
        logits: (m,) float.
        target: (m,) 0 or 1, both of them present.
    """
    x = np.column_stack([logits, np.ones(len(logits))]).astype(np.float64)
    sign = np.where(target > 0, 1.0, -1.0)
    weight = np.where(target > 0, 0.5 / np.sum(target > 0), 0.5 / np.sum(target <= 0))

    def loss_and_gradient(ab: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        margin = sign * (x @ ab)
        wrong = special.expit(-margin)
        return float(weight @ np.logaddexp(0, -margin)), -(weight * sign * wrong) @ x

    found = optimize.minimize(loss_and_gradient, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    return float(found.x[0]), float(found.x[1])
