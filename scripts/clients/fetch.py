"""Python's requests, with nothing set but whom to trust: fetch.py CA URL."""

import sys

import requests

_, ca, url = sys.argv
answer = requests.get(url, verify=ca, timeout=20)
answer.raise_for_status()
sys.stdout.write(answer.text)
