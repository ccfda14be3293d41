"""Training of the merge policy: shards, rollout actors, the central learner and the loop."""
