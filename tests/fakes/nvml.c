/* A stand-in for the NVIDIA driver's libnvidia-ml.so.1, for machines without a GPU.
 *
 * It answers the NVML calls that pynvml and dask-cuda make. The environment sets what it says:
 *   FAKE_NVML_GPUS         number of GPUs (default 1)
 *   FAKE_NVML_NAME         their name
 *   FAKE_NVML_MEMORY_MIB   total memory of each
 *   FAKE_NVML_USED_MIB     used memory of each
 *   FAKE_NVML_UTILIZATION  percentages, comma separated: one a second, over and over
 *   FAKE_NVML_MIG          MIG slices of each GPU; MIG is on when this is more than 0
 *   FAKE_NVML_INIT_ERROR   an NVML error number that nvmlInit returns (4 no permission, 9 driver not loaded)
 *   FAKE_NVML_LOST         a file: once it exists, every device call says that the GPU is lost (15)
 *   FAKE_NVML_CALLS        a file to which each call of a reading adds one byte
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15 };
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilization;

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}
static int gpus(void) { return number("FAKE_NVML_GPUS", 1); }
static int slices(void) { return number("FAKE_NVML_MIG", 0); }
static int lost(void) {
    const char *path = getenv("FAKE_NVML_LOST");
    return path && access(path, F_OK) == 0;
}
static void count_call(void) {
    const char *path = getenv("FAKE_NVML_CALLS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) { fputc('x', file); fclose(file); }
}

/* A handle is 1 + the GPU's index, and for a slice of it also 256 * (1 + the slice's). */
static size_t gpu_of(void *handle) { return ((size_t)handle & 255) - 1; }
static size_t slice_of(void *handle) { return (size_t)handle >> 8; }
static void *handle_of(size_t gpu, size_t slice) { return (void *)(gpu + 1 + 256 * slice); }

int nvmlInit_v2(void) { return number("FAKE_NVML_INIT_ERROR", OK); }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) {
    switch (code) {
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 6: return "Not Found";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    default: return "Unknown Error";
    }
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "570.00.fake"); return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12080; return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = gpus(); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    if (lost()) return LOST;
    if ((int)index >= gpus()) return INVALID;
    *handle = handle_of(index, 0);
    return OK;
}
static void write_uuid(void *handle, char *text, size_t size) {
    if (slice_of(handle))
        snprintf(text, size, "MIG-%08zu-0000-0000-0000-%012zu", gpu_of(handle), slice_of(handle));
    else
        snprintf(text, size, "GPU-%08zu-0000-0000-0000-000000000000", gpu_of(handle));
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    char text[96];
    if (lost()) return LOST;
    for (int gpu = 0; gpu < gpus(); gpu++)
        for (int slice = 0; slice <= slices(); slice++) {
            *handle = handle_of(gpu, slice);
            write_uuid(*handle, text, sizeof text);
            if (!strcmp(text, uuid)) return OK;
        }
    return NOT_FOUND;
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    if (lost()) return LOST;
    write_uuid(handle, text, size);
    return OK;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    const char *name = getenv("FAKE_NVML_NAME");
    if (lost()) return LOST;
    snprintf(text, size, "%s%s", name ? name : "Simulated GPU", slice_of(handle) ? " MIG 1g.5gb" : "");
    return OK;
}
int nvmlDeviceGetIndex(void *handle, unsigned *index) { *index = gpu_of(handle); return OK; }
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    unsigned long long mib = 1 << 20;
    (void)handle;
    if (lost()) return LOST;
    memory->total = number("FAKE_NVML_MEMORY_MIB", 16384) * mib;
    memory->used = number("FAKE_NVML_USED_MIB", 1024) * mib;
    memory->free = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetUtilizationRates(void *handle, Utilization *rates) {
    const char *text = getenv("FAKE_NVML_UTILIZATION");
    char copy[256], *part, *rest = copy;
    int values[64], known = 0;
    if (lost()) return LOST;
    if (slice_of(handle)) return NOT_SUPPORTED;
    count_call();
    snprintf(copy, sizeof copy, "%s", text && *text ? text : "50");
    while (known < 64 && (part = strsep(&rest, ","))) values[known++] = atoi(part);
    rates->gpu = values[time(NULL) % known];
    rates->memory = 10;
    return OK;
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *celsius) {
    (void)handle; (void)sensor;
    if (lost()) return LOST;
    *celsius = 55;
    return OK;
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
    if (lost()) return LOST;
    if (slice_of(handle)) return NOT_SUPPORTED;
    *milliwatts = 123456;
    return OK;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    (void)handle;
    if (lost()) return LOST;
    *current = *pending = slices() > 0;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { (void)handle; *count = slices(); return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **slice) {
    if ((int)index >= slices()) return NOT_FOUND;
    *slice = handle_of(gpu_of(handle), index + 1);
    return OK;
}
int nvmlDeviceIsMigDeviceHandle(void *handle, unsigned *is) { *is = slice_of(handle) > 0; return OK; }
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *slice, void **handle) {
    *handle = handle_of(gpu_of(slice), 0);
    return OK;
}
int nvmlDeviceGetCpuAffinity(void *handle, unsigned size, unsigned long *mask) {
    (void)handle;
    memset(mask, 0, size * sizeof *mask);
    mask[0] = ~0ul;
    return OK;
}
static int no_processes(unsigned *count) { *count = 0; return OK; }
int nvmlDeviceGetComputeRunningProcesses(void *h, unsigned *n, void *p) { (void)h; (void)p; return no_processes(n); }
int nvmlDeviceGetComputeRunningProcesses_v2(void *h, unsigned *n, void *p) { (void)h; (void)p; return no_processes(n); }
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *n, void *p) { (void)h; (void)p; return no_processes(n); }
