"""What a run is: its settings, its data, its plan, its folder."""
