"""Music in and out: MIDI, song sets, corpora, fragments, steering and figures. Knows no network."""
