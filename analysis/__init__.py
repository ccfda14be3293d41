"""What is measured and read: segmentation and boundary metrics, digital topology, figures."""
