"""What the families on molecules share: structures, descriptors, kernel machine, findings, drawings."""
