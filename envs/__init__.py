"""The superpixel hierarchy as a decision process, compiled and as a Gymnasium environment."""

from gymnasium.envs.registration import register, registry

ENVIRONMENT_ID = "agglo/Agglomeration-v0"
"""All kinds of action: merge, query, reimage, leave, stop."""

MERGING_ID = "agglo/Merging-v0"
"""Merge and stop only."""

if ENVIRONMENT_ID not in registry:
    register(ENVIRONMENT_ID, entry_point="envs.agglomeration_env:AgglomerationEnv")
    register(MERGING_ID, entry_point="envs.agglomeration_env:merging_env")
