"""What can be condensed: a catalogue of names, image folders, and the set on the device."""
