"""Features of pretrained networks, which KID, FID and LPIPS compare."""
