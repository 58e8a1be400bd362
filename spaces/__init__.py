"""What can be built: blocks, upsamplers, topologies, architectures as data, and their exact cost."""
