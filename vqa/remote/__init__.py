"""Answer by an OpenAI-compatible endpoint.

Not by the `openai` package: it reads error bodies, streams and unpacked replies without a limit,
waits by Retry-After for each attempt but not in sum, repeats keys in its errors, and checks no
types. All that would have to stand around it, beside a second HTTP library.
"""
