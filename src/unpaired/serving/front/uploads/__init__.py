"""What clients send, within limits, into the files of a job: an image, a zip file, a list."""
