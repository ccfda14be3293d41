"""The superpixel hierarchy as a decision process, compiled and as a Gymnasium environment."""

from gymnasium.envs.registration import register, registry

ENVIRONMENT_ID = "agglo/Agglomeration-v0"

if ENVIRONMENT_ID not in registry:
    register(ENVIRONMENT_ID, entry_point="envs.agglomeration_env:AgglomerationEnv")
