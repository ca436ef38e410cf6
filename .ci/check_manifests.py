#!/usr/bin/env python3
"""Renders every kustomize overlay and holds the result against the Kubernetes schemas and against our own rules.

The schemas say that a manifest would be accepted; the rules say that it is what deploy/README.md promises: hardened containers, pinned images, probes, no
reference to something that the overlay does not create or document, and no environment variable that the services do not read. Runs in the tools environment (.ci/tools); takes no arguments.
"""

import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
OVERLAYS = sorted((DEPLOY / "overlays").iterdir())
KUBERNETES_VERSIONS = ["1.30", "1.37"]  # the oldest we support (the preStop sleep), and the newest that the schemas cover
SERVICES = ["ingestion", "metrics", "experiments", "approvals", "automations"]
# What a person puts into the namespace beforehand; deploy/README.md lists the same names.
SECRETS_FROM_OUTSIDE = {"suite-key", "owner-database", *(f"{service}-database" for service in SERVICES)}


def render(overlay):
    """The overlay's objects, as kustomize would apply them."""
    text = subprocess.run(["kubectl", "kustomize", overlay], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def named(thing):
    return f"{thing['kind']}/{thing['metadata']['name']}"


def schema_errors(thing):
    """One sentence for each Kubernetes version whose schema refuses the object."""
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            yield f"{named(thing)} is no {thing['kind']} of Kubernetes {version}: {path}: {error.message}"


def pod_errors(thing, names):
    """What a pod template lacks of the hardening, or points at that does not exist."""
    pod = thing["spec"]["template"]["spec"]
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield f"{named(thing)} may run as root: set runAsNonRoot and a numeric runAsUser"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{named(thing)} has no seccompProfile RuntimeDefault"
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{named(thing)} mounts a Kubernetes API token"
    account = pod.get("serviceAccountName")
    if account and ("ServiceAccount", account) not in names:
        yield f"{named(thing)} runs as ServiceAccount {account}, which does not exist"
    for volume in pod.get("volumes", []):
        secret = volume.get("secret", {}).get("secretName")
        if secret and ("Secret", secret) not in names and secret not in SECRETS_FROM_OUTSIDE:
            yield f"{named(thing)} mounts Secret {secret}, which neither the overlay nor a person provides"
        config = volume.get("configMap", {}).get("name")
        if config and ("ConfigMap", config) not in names:
            yield f"{named(thing)} mounts ConfigMap {config}, which does not exist"
    for container in pod["containers"]:
        where = f"{named(thing)}, container {container['name']}"
        context = container.get("securityContext", {})
        if context.get("readOnlyRootFilesystem") is not True or context.get("allowPrivilegeEscalation") is not False:
            yield f"{where}: the root filesystem must be read-only and privileges must not grow"
        if context.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{where}: capabilities must be dropped, all of them"
        if ":" not in container["image"].rsplit("/", 1)[-1] or container["image"].endswith(":latest"):
            yield f"{where}: image {container['image']} names no version; add it to `images` in the overlay"
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
            yield f"{where}: needs requests for cpu and memory, and a memory limit"
        if thing["kind"] == "Deployment":
            if "grpc" not in container.get("readinessProbe", {}) or "livenessProbe" not in container:
                yield f"{where}: needs a gRPC readiness probe and a liveness probe"
            for source in container.get("envFrom", []):
                if ("ConfigMap", source["configMapRef"]["name"]) not in names:
                    yield f"{where}: ConfigMap {source['configMapRef']['name']} does not exist"


def overlay_errors(things):
    """Every broken rule of one overlay, as a sentence."""
    names = {(thing["kind"], thing["metadata"]["name"]) for thing in things}
    for thing in things:
        yield from schema_errors(thing)
        if thing["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield from pod_errors(thing, names)
        if thing["kind"] == "HorizontalPodAutoscaler" and ("Deployment", thing["spec"]["scaleTargetRef"]["name"]) not in names:
            yield f"{named(thing)} scales a Deployment that does not exist"
    for service in SERVICES:
        for kind in ("Deployment", "Service", "ServiceAccount"):
            if (kind, service) not in names:
                yield f"{kind}/{service} is missing"


def variables_read(folder):
    """The environment variables that the Rust code below a folder reads into its configuration."""
    sources = (ROOT / folder).rglob("*.rs")
    return {name for source in sources for name in re.findall(r'\benv = "([A-Z_]+)"', source.read_text())}


def variables_set(things):
    """The environment variables that an overlay sets for the services."""
    for thing in things:
        if thing["kind"] == "ConfigMap" and thing["metadata"]["name"].startswith("suite-"):
            yield from thing["data"]
        if thing["kind"] == "Deployment":
            for container in thing["spec"]["template"]["spec"]["containers"]:
                yield from (variable["name"] for variable in container.get("env", []))


def contract_errors():
    """Where the environment that we set, the one that we document and the one that the services read are not the same."""
    read = variables_read("crates/server") | variables_read("crates/store")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        if name in SERVICES:
            for variable in sorted(service["environment"].keys() - read):
                yield f"compose.yaml: {name} is given {variable}, which no service reads"
    for overlay in OVERLAYS:
        for variable in sorted(set(variables_set(render(overlay))) - read):
            yield f"overlays/{overlay.name}: {variable} is set, which no service reads"
    documented = set(re.findall(r"`([A-Z_]+)`", (DEPLOY / "README.md").read_text()))
    for variable in sorted(read - documented):
        yield f"README.md: {variable} is read by the services, but not in the table of the environment"


def main():
    errors = list(contract_errors())
    failures = len(errors)
    for error in errors:
        print(error, file=sys.stderr)
    for overlay in OVERLAYS:
        things = render(overlay)
        errors = list(overlay_errors(things))
        failures += len(errors)
        for error in errors:
            print(f"overlays/{overlay.name}: {error}", file=sys.stderr)
        print(f"overlays/{overlay.name}: {len(things)} objects, {len(errors)} errors (Kubernetes {', '.join(KUBERNETES_VERSIONS)})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
