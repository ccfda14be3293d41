"""Learn by REINFORCE which contacts to merge, to ask about, to image again, or to leave."""

import gymnasium as gym
import numpy as np
from scipy.special import softmax


def play(env, weights, scale, rng, seed):
    """Play an episode; return rewards (T,) and slopes d log p(action) / d weights (T, ...)."""
    (seen, _), is_over, rewards, slopes = env.reset(seed=seed), False, [], []
    while not is_over:
        x = (seen["candidates"] - scale[0]) / scale[1]
        x = np.append(x, np.ones((len(x), 1)), axis=1)
        logits = np.append(weights @ x.T, -5.0)  # kind by kind; the last action stops, rarely
        p = softmax(np.where(seen["action_mask"], logits, -np.inf))
        action = rng.choice(len(p), p=p)
        seen, reward, is_over, _, _ = env.step(action)
        rewards.append(reward)
        slopes.append(((np.arange(len(p)) == action) - p)[:-1].reshape(len(weights), -1) @ x)
    return np.array(rewards), np.array(slopes)


def main(n_episodes=300, rate=0.02):
    """Learn; return the mean return of 30 other episodes before and after."""
    env, rng = gym.make("envs:agglo/Agglomeration-v0"), np.random.default_rng(0)
    rows = np.array([env.reset(seed=seed)[0]["candidates"] for seed in range(20)])
    scale = rows.mean((0, 1)), rows.std((0, 1)) + 1e-3
    weights = np.zeros((env.action_space.n // rows.shape[1], rows.shape[2] + 1))  # pyright: ignore
    returns = [np.mean([play(env, weights, scale, rng, 1000 + k)[0].sum() for k in range(30)])]
    for episode in range(n_episodes):  # a reward is all that its action does: no discounting
        rewards, slopes = play(env, weights, scale, rng, episode)
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-8)
        weights += rate * np.tensordot(advantages, slopes, 1) / len(rewards) ** 0.5
    returns.append(np.mean([play(env, weights, scale, rng, 1000 + k)[0].sum() for k in range(30)]))
    print("mean return in bits: {:.2f} before, {:.2f} after".format(*returns))
    return returns


if __name__ == "__main__":
    main()
