"""What the experiments run on: data sets and generated tasks."""
