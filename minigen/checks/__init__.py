"""What the layers are held against: a gradient case for each, and the diary's last models in PyTorch."""
