"""What the runs of a study share: model, data, measurements and fits."""
