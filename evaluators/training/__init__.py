"""Training one network: the loop, recipes, losses, distillation, inherited weights."""
