/** A few objects in the form in which Calico v3.32 writes them, for tests without the recorded dump. */

export const GOLDENS = {
  pool:
    `{"apiVersion":"crd.projectcalico.org/v1","kind":"IPPool","metadata":{"name":"small","annotations":{"projectcalico.org/metadata":"{\\"creationTimestamp\\":\\"2026-01-02T03:04:05Z\\"}"}},"spec":{"blockSize":28,"cidr":"192.0.2.0/24","ipipMode":"Never","vxlanMode":"Always"}}`,
  set:
    `{"apiVersion":"crd.projectcalico.org/v1","kind":"GlobalNetworkSet","metadata":{"name":"strangers","annotations":{"projectcalico.org/metadata":"{\\"creationTimestamp\\":\\"2026-01-02T03:04:05Z\\",\\"labels\\":{\\"zone\\":\\"bad\\"}}"}},"spec":{"nets":["198.51.100.0/24"]}}`,
  policy:
    `{"apiVersion":"crd.projectcalico.org/v1","kind":"GlobalNetworkPolicy","metadata":{"name":"secure.first","annotations":{"projectcalico.org/metadata":"{\\"name\\":\\"secure.first\\",\\"creationTimestamp\\":\\"2026-01-02T03:04:05Z\\",\\"labels\\":{\\"projectcalico.org/tier\\":\\"secure\\"}}"},"labels":{"projectcalico.org/tier":"secure"}},"spec":{"selector":"all()","tier":"secure","types":["Egress"]}}`,
  block:
    `{"apiVersion":"crd.projectcalico.org/v1","kind":"IPAMBlock","metadata":{"name":"192-0-2-4-30","annotations":{"projectcalico.org/metadata":"{\\"creationTimestamp\\":null}"}},"spec":{"affinity":"host:n1","affinityClaimTime":"2026-01-02T03:04:05Z","allocations":[null,0,null,null],"attributes":[{"handle_id":"net.ctr","secondary":{"namespace":"red","node":"n1","pod":"p"}}],"cidr":"192.0.2.4/30","deleted":false,"sequenceNumber":1767323045000000123,"sequenceNumberForAllocation":{"1":1767323045000000001},"strictAffinity":false,"unallocated":[2,3,0]}}`,
  affinity:
    `{"apiVersion":"crd.projectcalico.org/v1","kind":"BlockAffinity","metadata":{"name":"cal1-192-0-2-4-30","annotations":{"projectcalico.org/metadata":"{\\"creationTimestamp\\":null,\\"labels\\":{\\"projectcalico.org/affinity-type\\":\\"host\\",\\"projectcalico.org/hostname-hash\\":\\"6MRUPT2BEFMDZCF5PIU33IBFCCK3FLIUMME5KX4AUE3672VRRN4Q\\",\\"projectcalico.org/ip-version\\":\\"4\\"}}"},"labels":{"projectcalico.org/affinity-type":"host","projectcalico.org/hostname-hash":"6MRUPT2BEFMDZCF5PIU33IBFCCK3FLIUMME5KX4AUE3672VRRN4Q","projectcalico.org/ip-version":"4"}},"spec":{"cidr":"192.0.2.4/30","deleted":"false","node":"cal1","state":"confirmed","type":"host"}}`,
  handle:
    `{"apiVersion":"crd.projectcalico.org/v1","kind":"IPAMHandle","metadata":{"name":"net.ctr","annotations":{"projectcalico.org/metadata":"{\\"creationTimestamp\\":null}"}},"spec":{"block":{"192.0.2.4/30":1},"deleted":false,"handleID":"net.Ctr"}}`,
  config:
    `{"apiVersion":"crd.projectcalico.org/v1","kind":"IPAMConfig","metadata":{"name":"default","annotations":{"projectcalico.org/metadata":"{\\"creationTimestamp\\":null}"}},"spec":{"autoAllocateBlocks":true,"kubeVirtVMAddressPersistence":"Enabled","strictAffinity":false}}`,
  node:
    `{"metadata":{"name":"n1","annotations":{"projectcalico.org/ASNumber":"64600","projectcalico.org/IPv4Address":"203.0.113.4/24","projectcalico.org/IPv4VXLANTunnelAddr":"192.0.2.4","projectcalico.org/labels":"{\\"rack\\":\\"r1\\"}"},"labels":{"kubernetes.io/os":"linux"}},"spec":{"podCIDR":"192.0.2.64/26","podCIDRs":["192.0.2.64/26"]},"status":{"addresses":[{"type":"InternalIP","address":"203.0.113.4"},{"type":"Hostname","address":"n1"}]}}`,
  pod:
    `{"metadata":{"name":"web-0","namespace":"red","uid":"6f4f6a0e-3f0c-4c6b-9d55-0d9c4f1f0a11","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app":"web"},"annotations":{"cni.projectcalico.org/containerID":"c0ffee","cni.projectcalico.org/podIP":"192.0.2.5/32","cni.projectcalico.org/podIPs":"192.0.2.5/32,2001:db8::5/128"},"managedFields":[{"manager":"kubelet"}]},"spec":{"nodeName":"node-1","serviceAccountName":"runner","containers":[{"name":"c","image":"i","ports":[{"name":"http","containerPort":80}],"env":[{"name":"A","value":"b"}]}]},"status":{"phase":"Running","podIPs":[{"ip":"192.0.2.5"},{"ip":"2001:db8::5"}],"conditions":[{"type":"Ready","status":"True"}]}}`,
} as const;
