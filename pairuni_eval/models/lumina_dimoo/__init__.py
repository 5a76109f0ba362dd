"""Lumina-DiMOO: one discrete-diffusion network that answers, draws and edits.

Text and picture codes are tokens of one vocabulary, and a place that is not known yet holds the
mask token. The network (`network`) sees the whole sequence at once; a sampler (`image_sampler`,
`text_sampler`) fills masked places over a few steps, the surest first. Pictures become codes and
codes pictures by a VQ model (`vq`). Nothing of the official code runs here: the modules have its
names, so that its weights load, and its recorded outputs are what they are tested against.
"""
