"""REDbot's notes on a resource, one a line, LEVEL NAME SUMMARY: notes.py URL"""

import configparser
import sys

import thor
from redbot.resource import HttpResource

_, url = sys.argv
settings = configparser.ConfigParser()
settings.read_dict({"redbot": {"enable_local_access": "True"}})
resource = HttpResource(settings["redbot"])
resource.set_request(url)


@thor.events.on(resource)
def check_done():
    thor.stop()


resource.check()
thor.run()
if not resource.response.complete:
    sys.exit(f"no answer: {resource.fetch_error}")


def show(note):
    print(note.level.value, type(note).__name__, note.summary)
    for child in note.subnotes:
        show(child)


for note in resource.response.notes:
    show(note)
