"""Programs that run on the lab's hosts; plain Python without anything of ours."""
