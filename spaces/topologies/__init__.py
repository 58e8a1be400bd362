"""How a network is laid out: a description without torch in NAME.py, what builds it in NAME_network.py."""
