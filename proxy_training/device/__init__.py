"""What a device can do: memory, speed, the layout that fits it."""
