"""How two things are told apart: embedders, kernels, nearest neighbours."""
