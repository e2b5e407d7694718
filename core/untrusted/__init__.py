"""All that touches bytes of strangers: entries of archives, tars, and the decoding of pictures in limited processes.
Nothing from here is trusted until it has passed; no rows, no torch."""
