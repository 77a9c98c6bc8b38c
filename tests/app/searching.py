"""The search page alone: Streamlit's test harness opens one page."""

from app import search_page

search_page.show()
