"""Maps the rooms of the source tree to the import names ``consentry.<room>``.

Everything else about the distribution stands in ``pyproject.toml``. The mapping needs code, because the
top-level folders are called ``schemas``, ``transforms`` and ``pipelines``, names that collide with
packages on PyPI when installed as they are.
"""

from setuptools import find_packages, setup

ROOMS = ("schemas", "transforms", "pipelines")

package_dir = {f"consentry.{room}": room for room in ROOMS}
packages = [f"consentry.{room}" for room in ROOMS]
for room in ROOMS:
    for package in find_packages(room):
        packages.append(f"consentry.{room}.{package}")
        package_dir[f"consentry.{room}.{package}"] = f"{room}/{package.replace('.', '/')}"

setup(
    packages=packages,
    package_dir=package_dir,
    package_data={package: ["py.typed", "*.sql", "*.yaml", "*.html"] for package in packages},
)
