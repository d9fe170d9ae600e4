"""Settings of Sphinx for the site of the course; `make_site.py` copies this file beside the pages it prepares."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.domains.python import PyObject

project = "amulsearch"
author = "the authors of amulsearch"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["extra"]
default_role = "py:obj"

nb_execution_mode = "off"
nb_ipywidgets_js = {}
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "groupwise"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_param = False
napoleon_use_rtype = False

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "amulsearch"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Attributes"


def write_mathml(translator, node):
    """Formulas in a form that browsers display by themselves; MathJax would be loaded from another site."""
    formula = re.sub(r"\\Big([()])", lambda one: {"(": r"\left(", ")": r"\right)"}[one[1]], node.astext())
    translator.body.append(tex2mathml(formula, as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))
