"""What is kept on disk: folders, records, checkpoints, and by what a run is recognised."""
