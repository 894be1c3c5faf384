#!/bin/sh
# Runs on the finished dom0 root tree ($1), before it becomes a disk.
set -e
root=$1
rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/boot/initrd.img-*
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/etc/ssh/ssh_host_*
# the emulated processor has no VME, which libvirt's 486 model asks for
sed -i "/name='vme'/d" "$root"/usr/share/libvirt/cpu_map/x86_486.xml
# dash and the tools themselves instead of bash and wrapper scripts: emulated, each costs dearly
sed -i '/^root:/s,/bin/bash,/bin/sh,' "$root"/etc/passwd
for tool in "$root"/usr/lib/xen-[0-9]*/bin/xl "$root"/usr/lib/xen-[0-9]*/bin/xentop; do
    [ -e "$tool" ] && ln -sf "${tool#"$root"}" "$root"/usr/local/sbin/"${tool##*/}"
done
for python in "$root"/usr/lib/xen-[0-9]*/lib/python; do
    echo "${python#"$root"}" >"$root"/usr/lib/python3/dist-packages/xen.pth
done
sed -i 's/^#\?autoballoon=.*/autoballoon="off"/' "$root"/etc/xen/xl.conf
chroot "$root" python3 -m compileall -q /usr/lib/python3 /usr/lib/xen-[0-9]*/lib/python || true
