"""Which questions does the bench ask? One file each, each with `run(options) -> Result`."""
