"""Translating images with a trained model: arrays, files, folders."""
