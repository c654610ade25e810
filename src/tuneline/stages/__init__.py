"""One module per DVC stage. Each has SECTIONS (the params it reads) and run(params)."""
