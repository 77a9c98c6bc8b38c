"""The server: whatever answers here, behind the OpenAI protocol (`pip install 'vqa[serve]'`)."""
