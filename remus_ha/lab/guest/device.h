/* Block devices of the guest. */
#ifndef DEVICE_H
#define DEVICE_H

/* Like open(2), but waits up to a minute for a device that is not there yet; then ETIMEDOUT. */
int open_device(const char *path, int flags);

#endif
