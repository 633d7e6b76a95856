//! What a container's environment tells of the services of its namespace. Pure.

use k8s_openapi::api::core::v1::Service;

/// Variables of all services that have an address of their own, in upstream's two forms: the plain one and that of docker's
/// links. The service `kubernetes` is left out: the node knows better where the server is reached.
pub(super) fn variables(services: &[Service]) -> Vec<(String, String)> {
    let mut all: Vec<&Service> = services.iter().collect();
    all.sort_by_key(|service| service.metadata.name.clone());
    all.into_iter().flat_map(of_one).collect()
}

fn of_one(service: &Service) -> Vec<(String, String)> {
    let service_name = service.metadata.name.as_deref().unwrap_or_default();
    let is_servers =
        service_name == "kubernetes" && service.metadata.namespace.as_deref() == Some("default");
    let Some(spec) = service.spec.as_ref().filter(|_| !is_servers) else { return Vec::new() };
    let host = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None");
    let ports = spec.ports.as_deref().unwrap_or_default();
    let (Some(host), Some(first)) = (host, ports.first()) else { return Vec::new() };
    let upper = |text: &str| text.to_ascii_uppercase().replace('-', "_");
    let name = upper(service_name);
    let mut list = vec![
        (format!("{name}_SERVICE_HOST"), host.to_owned()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(own) = port.name.as_deref().filter(|own| !own.is_empty()) {
            list.push((format!("{name}_SERVICE_PORT_{}", upper(own)), port.port.to_string()));
        }
    }
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let (number, small) = (port.port, protocol.to_ascii_lowercase());
        let place = format!("{small}://{bracketed}:{number}");
        let prefix = format!("{name}_PORT_{number}_{}", protocol.to_ascii_uppercase());
        if index == 0 {
            list.push((format!("{name}_PORT"), place.clone()));
        }
        list.push((prefix.clone(), place));
        list.push((format!("{prefix}_PROTO"), small));
        list.push((format!("{prefix}_PORT"), number.to_string()));
        list.push((format!("{prefix}_ADDR"), host.to_owned()));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, namespace: &str, spec: serde_json::Value) -> Service {
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec}),
        )
        .unwrap()
    }

    #[test]
    fn a_service_is_told_with_each_of_its_ports() {
        let ports = json!([{"name": "web-1", "port": 80}, {"port": 53, "protocol": "UDP"}]);
        let one = service("my-web", "ns", json!({"clusterIP": "10.96.0.7", "ports": ports}));
        let told: Vec<String> =
            variables(&[one]).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let wanted = [
            "MY_WEB_SERVICE_HOST=10.96.0.7",
            "MY_WEB_SERVICE_PORT=80",
            "MY_WEB_SERVICE_PORT_WEB_1=80",
            "MY_WEB_PORT=tcp://10.96.0.7:80",
            "MY_WEB_PORT_80_TCP=tcp://10.96.0.7:80",
            "MY_WEB_PORT_80_TCP_PROTO=tcp",
            "MY_WEB_PORT_80_TCP_PORT=80",
            "MY_WEB_PORT_80_TCP_ADDR=10.96.0.7",
            "MY_WEB_PORT_53_UDP=udp://10.96.0.7:53",
            "MY_WEB_PORT_53_UDP_PROTO=udp",
            "MY_WEB_PORT_53_UDP_PORT=53",
            "MY_WEB_PORT_53_UDP_ADDR=10.96.0.7",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn services_without_an_address_and_the_servers_own_are_not_told() {
        let port = json!([{"port": 80}]);
        let quiet = [
            service("headless", "ns", json!({"clusterIP": "None", "ports": port})),
            service("kubernetes", "default", json!({"clusterIP": "10.96.0.1", "ports": port})),
            service("outside", "ns", json!({"type": "ExternalName", "ports": port})),
        ];
        assert_eq!(variables(&quiet), []);
        let other = service("kubernetes", "ns", json!({"clusterIP": "10.96.0.9", "ports": port}));
        assert_eq!(variables(&[other])[0].1, "10.96.0.9");
    }
}
