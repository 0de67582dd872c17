#include "lacuna_pool.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

void lk_return_unused(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

// Reads a small file into `text`, which has room for `size` bytes. Returns whether there was one.
static int read_file(const char *path, char *text, size_t size) {
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  const size_t length = fread(text, 1, size - 1, file);
  fclose(file);
  text[length] = 0;
  return 1;
}

// How many processors the group at `directory` may use: its quota of time over the period; 0 where it says nothing.
static double group_limit(const char *directory, int version) {
  char path[PATH_MAX], text[256];
  double quota = 0, period = 0;
  if (version == 2) {
    if (snprintf(path, sizeof path, "%s/cpu.max", directory) >= (int)sizeof path) return 0;
    if (!read_file(path, text, sizeof text) || sscanf(text, "%lf %lf", &quota, &period) != 2) return 0;  // "max 100000"
  } else {
    if (snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory) >= (int)sizeof path) return 0;
    if (!read_file(path, text, sizeof text) || sscanf(text, "%lf", &quota) != 1) return 0;  // -1 is none
    if (snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory) >= (int)sizeof path) return 0;
    if (!read_file(path, text, sizeof text) || sscanf(text, "%lf", &period) != 1) return 0;
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The least limit of a group and of those above it. In a container the path may be one of the host's that is not there:
// then what is mounted is the container's own group.
static double path_limit(const char *mount, const char *group, int version) {
  char path[PATH_MAX];
  double least = 0;
  size_t floor = strlen(mount);
  if (snprintf(path, sizeof path, "%s%s", mount, group) >= (int)sizeof path) return 0;
  for (;;) {
    const double limit = group_limit(path, version);
    if (limit > 0 && (least == 0 || limit < least)) least = limit;
    char *slash = strrchr(path, '/');
    if (!slash || (size_t)(slash - path) < floor) return least;
    *slash = 0;
  }
}

int lk_quota(const char *groups, const char *mount) {
  char text[8192], directory[PATH_MAX];
  if (!read_file(groups, text, sizeof text)) return 0;
  double least = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n")) {
    // "0::/path" (version 2), or "4:cpu,cpuacct:/path".
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : 0;
    if (!group) continue;
    *controllers++ = 0;
    *group++ = 0;
    double limit = 0;
    if (*controllers == 0) {
      limit = path_limit(mount, group, 2);
    } else {
      int has_cpu = 0;
      for (const char *at = controllers; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : 0)
        has_cpu |= strncmp(at, "cpu", 3) == 0 && (at[3] == ',' || at[3] == 0);
      if (!has_cpu) continue;
      // The folder is named for all of the line's controllers, with a link for each.
      if (snprintf(directory, sizeof directory, "%s/cpu", mount) >= (int)sizeof directory) continue;
      limit = path_limit(directory, group, 1);
      if (limit == 0 && snprintf(directory, sizeof directory, "%s/%s", mount, controllers) < (int)sizeof directory)
        limit = path_limit(directory, group, 1);
    }
    if (limit > 0 && (least == 0 || limit < least)) least = limit;
  }
  return least == 0 ? 0 : least < 1 ? 1 : least < INT_MAX ? (int)least : INT_MAX;
}
