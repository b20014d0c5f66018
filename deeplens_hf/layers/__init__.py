"""What networks are built of, and pooling that is quick on a CPU."""
