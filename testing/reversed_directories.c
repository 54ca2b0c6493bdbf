/* Has every program read directories backwards: the order of their entries is no order.
   Loaded by /etc/ld.so.preload. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct Listing {
  DIR *directory;
  struct dirent **entries;
  size_t left;
  struct Listing *next;
};
static struct Listing *listings;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct Listing **find(DIR *directory) {
  struct Listing **found = &listings;
  while (*found && (*found)->directory != directory) found = &(*found)->next;
  return found;
}

static void forget(struct Listing **found) {
  struct Listing *listing = *found;
  if (!listing) return;
  *found = listing->next;
  while (listing->left) free(listing->entries[--listing->left]);
  free(listing->entries);
  free(listing);
}

struct dirent *readdir(DIR *directory) {
  static struct dirent *(*original)(DIR *);
  static __thread struct dirent last;
  if (!original) original = dlsym(RTLD_NEXT, "readdir");
  pthread_mutex_lock(&mutex);
  struct Listing **found = find(directory);
  if (!*found) {
    *found = calloc(1, sizeof **found);
    (*found)->directory = directory;
    for (struct dirent *entry; (entry = original(directory));) {
      (*found)->entries = realloc((*found)->entries, ((*found)->left + 1) * sizeof entry);
      (*found)->entries[(*found)->left++] = memcpy(malloc(sizeof *entry), entry, entry->d_reclen);
    }
  }
  struct dirent *result = NULL;
  if ((*found)->left) {
    struct dirent *entry = (*found)->entries[--(*found)->left];
    memcpy(&last, entry, entry->d_reclen);
    free(entry);
    result = &last;
  }
  pthread_mutex_unlock(&mutex);
  return result;
}

/* The same on 64-bit machines. */
struct dirent64 *readdir64(DIR *directory) { return (struct dirent64 *)readdir(directory); }

void rewinddir(DIR *directory) {
  static void (*original)(DIR *);
  if (!original) original = dlsym(RTLD_NEXT, "rewinddir");
  pthread_mutex_lock(&mutex);
  forget(find(directory));
  pthread_mutex_unlock(&mutex);
  original(directory);
}

int closedir(DIR *directory) {
  static int (*original)(DIR *);
  if (!original) original = dlsym(RTLD_NEXT, "closedir");
  pthread_mutex_lock(&mutex);
  forget(find(directory));
  pthread_mutex_unlock(&mutex);
  return original(directory);
}
