"""What blocks and topologies are built from: convolutions, attention, activations."""
