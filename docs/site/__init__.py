"""The documentation as a site: `python -m docs.site` writes it into build/site.

`assemble` puts the pages together in build/docs, `command_line` and `python_api` write the two
references, and mkdocs builds the site of them as mkdocs.yml says, strictly.
"""
