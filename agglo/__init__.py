"""What runs: volumes on disk, Ray actors, the learner, run folders and the command line."""
