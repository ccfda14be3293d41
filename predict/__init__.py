"""Images in, maps out: boundary models, their training and application, watershed superpixels."""
