"""Answers from a closed set, by co-attention between a picture's patches and a question's tokens.

After ViLBERT (Lu et al. 2019, arXiv:1908.02265) and LXMERT (Tan and Bansal 2019,
arXiv:1908.07490), on patch features of a frozen encoder instead of detected regions. It gives no
answer that is rare in its training data, and is many times faster than a language model.
"""
