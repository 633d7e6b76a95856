"""An informer of the official Python client over TLS: list, watch, and changes made meanwhile.

usage: informer.py KUBECONFIG. Exit status 0 when the cache that was kept by events is what a list shows in the end.
"""
import sys
import threading

from kubernetes import client, config, watch

OBJECTS = 40
NAMESPACE = "default"
LABELS = "informed=python"


def body(name, text):
    metadata = client.V1ObjectMeta(name=name, labels={"informed": "python"})
    return client.V1ConfigMap(metadata=metadata, data={"text": text})


def change(api):
    """Creates, updates in three ways, deletes every third, and ends with an object named `last`."""
    for at in range(OBJECTS):
        api.create_namespaced_config_map(NAMESPACE, body(f"py-{at}", "new"))
    for at in range(OBJECTS):
        if at % 3 == 0:
            api.delete_namespaced_config_map(f"py-{at}", NAMESPACE)
        elif at % 3 == 1:
            api.patch_namespaced_config_map(f"py-{at}", NAMESPACE, {"data": {"text": "patched"}})
        else:
            found = api.read_namespaced_config_map(f"py-{at}", NAMESPACE)
            found.data["text"] = "replaced"
            api.replace_namespaced_config_map(f"py-{at}", NAMESPACE, found)
    # out of the selector: to the watcher that is a deletion
    api.patch_namespaced_config_map("py-1", NAMESPACE, {"metadata": {"labels": {"informed": None}}})
    api.create_namespaced_config_map(NAMESPACE, body("last", "over"))


def main():
    config.load_kube_config(sys.argv[1])
    api = client.CoreV1Api()
    listed = api.list_namespaced_config_map(NAMESPACE, label_selector=LABELS)
    cache = {item.metadata.name: item.data["text"] for item in listed.items}
    changes = threading.Thread(target=change, args=(client.CoreV1Api(),), daemon=True)
    changes.start()
    kinds = {"ADDED": 0, "MODIFIED": 0, "DELETED": 0}
    events = watch.Watch().stream(
        api.list_namespaced_config_map,
        NAMESPACE,
        label_selector=LABELS,
        resource_version=listed.metadata.resource_version,
        timeout_seconds=120,
    )
    for event in events:
        item, kind = event["object"], event["type"]
        kinds[kind] += 1
        if kind == "DELETED":
            del cache[item.metadata.name]
        else:
            cache[item.metadata.name] = item.data["text"]
        if item.metadata.name == "last":
            break
    else:
        sys.exit("the watch ended before the last object came")
    changes.join()
    shown = api.list_namespaced_config_map(NAMESPACE, label_selector=LABELS).items
    shown = {item.metadata.name: item.data["text"] for item in shown}
    if cache != shown:
        sys.exit(f"the cache is {cache}, a list shows {shown}")
    deleted = (OBJECTS + 2) // 3 + 1
    if kinds != {"ADDED": OBJECTS + 1, "MODIFIED": OBJECTS + 1 - deleted, "DELETED": deleted}:
        sys.exit(f"events were {kinds}")
    print(f"python client: {kinds}, the cache is what a list shows")


main()
