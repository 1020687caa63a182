"""Sphinx's configuration of the book (`make book`): the committed notebooks as they are, and the API.

Its pages need no net: formulas are MathML, which browsers draw themselves, in a font that is copied into the book.
"""

import itertools
import json
import pkgutil
import re
from pathlib import Path

import math_core
import myst_nb.core.render
import ziamath
from docutils import nodes
from sphinx.errors import ExtensionError

import dnll_core

HERE = Path(__file__).parent
project = "Learning from what an image is not"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # sliders need a kernel, and their scripts the net
nb_render_markdown_format = "myst"  # outputs hold formulas and links between notebooks, too
myst_enable_extensions = ["dollarmath"]
default_role = "py:obj"  # docstrings quote code as Markdown does; what has this name is linked
autodoc_default_options = {"members": True, "ignore-module-all": True, "member-order": "bysource"}
autodoc_default_options["exclude-members"] = "set_fit_request, set_score_request"  # scikit-learn's
napoleon_use_ivar = True  # an attribute that stands in the docstring and in the code is described once
add_module_names = False  # the headings say them
toc_object_entries = False
maximum_signature_line_length = 100
html_theme = "furo"
html_title = "DNLL"
html_math_renderer = "mathml"
html_static_path = ["book.css", str(Path(ziamath.__file__).with_name("fonts") / "STIXTwoMath-Regular.ttf")]
html_css_files = ["book.css"]
html_copy_source = html_use_index = html_domain_indices = False


class WithAltText(myst_nb.core.render.NbElementRenderer):
    """Keeps the alternative text that an output's metadata hold."""

    def render_image(self, data):
        [image] = super().render_image(data)
        image["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
        return [image]


myst_nb.core.render.NbElementRenderer = WithAltText  # myst-nb looks its renderer up by this name


def write_formula(writer, node):
    """Writes MathML; a command that nobody knows is an error."""
    block, latex = isinstance(node, nodes.math_block), node.astext()
    if r"\tag" in latex:  # which LaTeX has in environments alone
        latex = rf"\begin{{equation}}{latex}\end{{equation}}"
    try:
        formula = math_core.LatexToMathML(fancy_error=False).convert_with_local_state(latex, displaystyle=block)
    except math_core.LatexError as error:
        raise ExtensionError(f"{writer.builder.current_docname}: {node.astext()}: {error}") from None
    writer.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def keep_lines(app, what, name, obj, options, lines):
    """Makes lists of "name: text" and literal blocks of what a docstring indents otherwise, its sections aside."""
    written = []
    for filled, paragraph in itertools.groupby(list(lines), bool):
        block = list(paragraph)
        outer = [line for line in block if not line.startswith(" ")]
        if filled and len(outer) < len(block) and block[0] not in ("Args:", "Attributes:", "Raises:", "Returns:"):
            if outer and all(re.match(r"[\w, ]+: ", line) for line in outer):
                block = ["  " + line.strip() if line.startswith(" ") else "* " + line for line in block]
            else:
                block = ["::", "", *("  " + line for line in block)]
        written += block
    lines[:] = written


def change_source(app, docname, content):
    """Links to the page of data/README.md, says what outputs were made with, and adds all modules to the API's page."""
    content[0] = content[0].replace("(../data/README.md)", "(data.md)")
    if docname == "index":  # of one notebook: a test holds that it is the same for all
        made = json.loads((HERE / "00_quickstart.ipynb").read_text(encoding="utf-8"))["metadata"]["made"]
        content[0] += "\nThe notebooks were executed on {}, with {}.\n".format(
            made["processor"],
            ", ".join(f"{name} {made[name]}" for name in ("python", "torch", "numpy", "scikit-learn")),
        )
    if docname == "api":
        public = [f"{{py:obj}}`~{getattr(dnll_core, name).__module__}.{name}`" for name in dnll_core.__all__]
        content[0] += f"\nFrom `dnll_core` itself: {', '.join(public)}.\n"
        for module in pkgutil.walk_packages(dnll_core.__path__, "dnll_core."):
            if not module.name.endswith("__main__"):
                level = "#" * (module.name.count(".") + 1)
                content[0] += f"\n{level} {module.name}\n\n```{{eval-rst}}\n.. automodule:: {module.name}\n```\n"


def setup(app):
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
    app.connect("source-read", change_source)
    app.connect("autodoc-process-docstring", keep_lines, priority=400)  # before napoleon
