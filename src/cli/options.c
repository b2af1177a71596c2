/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From argv to ImOptions: reading by the table, then checking what goes together. */
#include "cli/options.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/parse.h"
#include "cli/image-opts.h"
#include "cli/object.h"
#include "cli/option-rules.h"

#include <getopt.h>
#include <unistd.h>

enum {
  FIRST_KEY = 256, /* getopt_long's value for table entry i is FIRST_KEY + i */
};

static bool usage (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static bool
usage (GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, IM_ERROR, IM_ERROR_USAGE, text);
  return false;
}

/* "--name", or "-x" for an entry without a long name.  Caller frees. */
static char *
display_name (const ImOptionEntry *entry)
{
  return entry->name ? g_strconcat ("--", entry->name, NULL)
                     : g_strdup_printf ("-%c", entry->letter);
}

/* What is gathered while argv is read. */
typedef struct {
  ImOptions *options;
  const char *form_name; /* the option that chose the form, or NULL */
  GPtrArray *o_values;   /* of const char *: the arguments of -o */
  GPtrArray *used;       /* of const ImOptionEntry *: to be checked against the form */
} Reading;

static const ImOptionEntry *entry_by_key (int key);

/* What another server exports is listed by -L, or by --list beside --nbd. */
static void
choose_exports_list (Reading *reading)
{
  reading->form_name = "nbd";
  reading->options->form = IM_FORM_NBD;
  reading->options->list_exports = true;
  g_ptr_array_add (reading->used, (void *)entry_by_key ('L'));
}

static bool
choose_form (Reading *reading, const ImOptionEntry *entry, GError **error)
{
  /* Help wins over everything, whatever else stands there. */
  if (reading->options->form & (IM_FORM_HELP | IM_FORM_VERSION))
    return true;
  if ((reading->options->form | entry->forms) == (IM_FORM_NBD | IM_FORM_LIST)) {
    choose_exports_list (reading);
    return true;
  }
  if (reading->form_name && strcmp (reading->form_name, entry->name) != 0 &&
      !(entry->forms & (IM_FORM_HELP | IM_FORM_VERSION)))
    return usage (error, "--%s and --%s exclude each other", reading->form_name,
                  entry->name);
  reading->form_name = entry->name;
  reading->options->form = (ImForm)entry->forms;
  return true;
}

static bool
check_minimum (const ImOptionEntry *entry, const char *name, const char *value,
               uint64_t number, GError **error)
{
  return number >= entry->minimum ||
         usage (error, "%s: %s is less than %" G_GUINT64_FORMAT, name, value,
                entry->minimum);
}

static bool
take_number (const ImOptionEntry *entry, const char *value, void *field, GError **error)
{
  g_autofree char *name = display_name (entry);
  uint64_t number;
  if (!im_parse_number (value, name, entry->maximum, &number, error))
    return false;
  *(uint64_t *)field = number;
  return check_minimum (entry, name, value, number, error);
}

/* Choices are made at most once, by whatever name; ENTRY has been added to those used
 * already. */
static bool
check_once (const Reading *reading, const ImOptionEntry *entry, GError **error)
{
  if (entry->last_wins)
    return true;
  for (guint i = 0; i + 1 < reading->used->len; i++) {
    const ImOptionEntry *earlier = reading->used->pdata[i];
    if (earlier == entry)
      return usage (error, "--%s is given more than once", entry->name);
    if (earlier->kind == IM_OPTION_CHOICE || earlier->kind == IM_OPTION_PRESET)
      if (earlier->field == entry->field)
        return usage (error, "--%s and --%s exclude each other", earlier->name,
                      entry->name);
  }
  return true;
}

static bool
take_choice (const ImOptionEntry *entry, const char *value, void *field, GError **error)
{
  g_autoptr (GString) words = g_string_new (NULL);
  for (const ImOptionChoice *choice = entry->choices; choice->word; choice++) {
    if (strcmp (choice->word, value) == 0) {
      *(uint64_t *)field = choice->value;
      return true;
    }
    g_string_append_printf (words, "%s%s", words->len ? ", " : "", choice->word);
  }
  return usage (error, "--%s: '%s' is none of %s", entry->name, value, words->str);
}

static bool
take (Reading *reading, const ImOptionEntry *entry, const char *value, GError **error)
{
  void *field = (char *)reading->options + entry->field;
  if (entry->kind != IM_OPTION_FORM)
    g_ptr_array_add (reading->used, (void *)entry);
  switch (entry->kind) {
  case IM_OPTION_FLAG:
    *(bool *)field = true;
    return true;
  case IM_OPTION_COUNT:
    *(uint64_t *)field += 1;
    return true;
  case IM_OPTION_STRING:
    *(const char **)field = value;
    return true;
  case IM_OPTION_LIST:
    g_ptr_array_add (*(GPtrArray **)field, (void *)value);
    return true;
  case IM_OPTION_OBJECT: {
    ImObject *object = im_object_parse ((char *)value, error);
    return object && im_object_add (*(GPtrArray **)field, object, error);
  }
  case IM_OPTION_NUMBER:
    return take_number (entry, value, field, error);
  case IM_OPTION_CHOICE:
    return check_once (reading, entry, error) && take_choice (entry, value, field, error);
  case IM_OPTION_PRESET:
    *(uint64_t *)field = entry->preset;
    return check_once (reading, entry, error);
  case IM_OPTION_SIZE: {
    g_autofree char *name = display_name (entry);
    return im_parse_size (value, name, field, error) &&
           check_minimum (entry, name, value, *(uint64_t *)field, error);
  }
  case IM_OPTION_FORM:
    if (entry->argument)
      *(const char **)field = value;
    return choose_form (reading, entry, error);
  case IM_OPTION_O:
    g_ptr_array_add (reading->o_values, (void *)value);
    return true;
  }
  return false;
}

static void
build_getopt_tables (GString *letters, struct option *longs)
{
  for (size_t i = 0; i < im_option_table_length; i++) {
    const ImOptionEntry *entry = &im_option_table[i];
    int has_arg = entry->argument ? required_argument : no_argument;
    if (entry->name)
      *longs++ = (struct option){entry->name, has_arg, NULL, FIRST_KEY + (int)i};
    if (entry->letter)
      g_string_append_printf (letters, "%c%s", entry->letter, has_arg ? ":" : "");
  }
  *longs = (struct option){0};
}

static const ImOptionEntry *
entry_by_key (int key)
{
  if (key >= FIRST_KEY)
    return &im_option_table[key - FIRST_KEY];
  for (size_t i = 0; i < im_option_table_length; i++)
    if (im_option_table[i].letter == key)
      return &im_option_table[i];
  return NULL;
}

/* The sentence for what getopt_long has refused. */
static bool
refuse (int key, char **argv, GError **error)
{
  const ImOptionEntry *entry = optopt ? entry_by_key (optopt) : NULL;
  if (entry && key == ':') {
    g_autofree char *name = display_name (entry);
    return usage (error, "%s needs a value", name);
  }
  if (entry)
    return usage (error, "--%s takes no value", entry->name);
  if (optopt)
    return usage (error, "option '-%c' is not known", optopt);
  return usage (error, "option '%s' is not known, or short for several",
                argv[optind - 1]);
}

static bool
read_arguments (Reading *reading, int argc, char **argv, GError **error)
{
  g_autoptr (GString) letters = g_string_new (":");
  g_autofree struct option *longs = g_new0 (struct option, im_option_table_length + 1);
  build_getopt_tables (letters, longs);
  opterr = 0;
  optind = 0;
  int key;
  while ((key = getopt_long (argc, argv, letters->str, longs, NULL)) != -1) {
    const ImOptionEntry *entry = key == '?' || key == ':' ? NULL : entry_by_key (key);
    if (!entry)
      return refuse (key, argv, error);
    if (!take (reading, entry, optarg, error))
      return false;
  }
  return true;
}

static const char *
form_title (ImForm form)
{
  switch (form) {
  case IM_FORM_NBD:
    return "with --nbd";
  case IM_FORM_LIST:
    return "with --list";
  case IM_FORM_INFO:
    return "with --info";
  case IM_FORM_EXTRACT:
    return "with --extract";
  case IM_FORM_VERIFY:
    return "with --verify";
  case IM_FORM_STATUS:
    return "with --status";
  case IM_FORM_UNMOUNT:
    return "with --unmount";
  default:
    return "when mounting";
  }
}

static bool
check_forms (const Reading *reading, GError **error)
{
  for (guint i = 0; i < reading->used->len; i++) {
    const ImOptionEntry *entry = reading->used->pdata[i];
    if (entry->forms & reading->options->form)
      continue;
    g_autofree char *name = display_name (entry);
    return usage (error, "%s has no meaning %s%s", name,
                  form_title (reading->options->form),
                  entry->forms == IM_FORM_NBD ? " (--nbd was meant?)" : "");
  }
  return true;
}

static bool
check_objects (const ImOptions *options, GError **error)
{
  for (guint i = 0; i < options->objects->len; i++) {
    const ImObject *object = options->objects->pdata[i];
    if (im_object_is_for_nbd (object) && options->form != IM_FORM_NBD)
      return im_object_refuse (object, error, "it has no meaning %s",
                               form_title (options->form));
  }
  return true;
}

/* -o is the offset in the NBD form and a list of mount options in the other. */
static bool
settle_o (Reading *reading, GError **error)
{
  ImOptions *options = reading->options;
  if (reading->o_values->len == 0)
    return true;
  if (options->form == IM_FORM_NBD)
    return im_parse_size (reading->o_values->pdata[reading->o_values->len - 1], "-o",
                          &options->offset, error);
  g_ptr_array_add (reading->o_values, NULL);
  options->mount_options = g_strjoinv (",", (char **)reading->o_values->pdata);
  return true;
}

static bool
take_operands (ImOptions *options, char **operands, int n, GError **error)
{
  bool mount = options->form == IM_FORM_MOUNT, unmount = options->form == IM_FORM_UNMOUNT;
  bool disconnect = options->disconnect;
  bool none = options->list_exports || options->form == IM_FORM_STATUS;
  int wanted = mount ? 2 : none ? 0 : 1;
  if (n == 0 && disconnect)
    return usage (error, "no DEV given");
  if (n < wanted)
    return usage (error, n == 0 && !unmount ? "no IMAGE given" : "no MOUNTPOINT given");
  if (n > 0 && options->list_exports)
    return usage (error, "-L takes no IMAGE, and '%s' is one", operands[0]);
  if (n > wanted)
    return usage (error, "'%s' is one operand too many", operands[wanted]);
  options->image = unmount || disconnect || n == 0 ? NULL : operands[0];
  options->mountpoint = unmount ? operands[0] : mount ? operands[1] : NULL;
  options->device = disconnect ? operands[0] : NULL;
  return true;
}

/* Takes --image-opts apart, so that `image` is a file's name afterwards. */
static bool
settle_image_opts (ImOptions *options, GError **error)
{
  bool read_only = false;
  if (!options->image_opts || !options->image)
    return true;
  if (options->format)
    return usage (error, "--image-opts and --format exclude each other: driver= says it");
  options->node = im_image_opts_parse (options->image, &read_only, error);
  if (!options->node)
    return false;
  if (options->overlay && (options->node->offset || options->node->size))
    return usage (error, "--overlay cannot record offset= and size= of --image-opts");
  options->image = options->node->filename;
  options->format = options->node->driver;
  options->read_only |= read_only;
  return true;
}

static bool
check_sector_size (uint64_t size, GError **error)
{
  if (size == 0 || size == 512 || size == 1024 || size == 2048 || size == 4096)
    return true;
  return usage (
      error, "--sector-size: %" G_GUINT64_FORMAT " is not 512, 1024, 2048 or 4096", size);
}

/* The kernel takes powers of two from 512 up to a page. */
static bool
check_block_size (uint64_t size, GError **error)
{
  uint64_t page = (uint64_t)sysconf (_SC_PAGESIZE);
  if (im_is_power_of_2 (size) && size >= 512 && size <= page)
    return true;
  return usage (error,
                "--block-size: %" G_GUINT64_FORMAT
                " is no power of two from 512 to %" G_GUINT64_FORMAT,
                size, page);
}

bool
im_options_check (const ImOptions *options, GError **error)
{
  if (options->partition && (options->offset || options->size))
    return usage (error, "--partition and --offset or --size exclude each other");
  if (options->temporary && options->overlay)
    return usage (error, "--snapshot and --overlay exclude each other");
  /* FILE would then mean something else to the next who opens it. */
  if (options->overlay && options->backing && strcmp (options->backing, "none") == 0)
    return usage (error, "--overlay and --backing=none exclude each other");
  if (options->socket && options->socket[0] != '/')
    return usage (error, "--socket: '%s' is not an absolute path", options->socket);
  if (options->form == IM_FORM_EXTRACT && !options->output)
    return usage (error, "--extract needs --output (-O FILE, or -O - for standard "
                         "output)");
  if (options->aio == IM_AIO_NATIVE && options->cache != IM_CACHE_NONE &&
      options->cache != IM_CACHE_DIRECTSYNC)
    return usage (error, "--aio=native needs --cache=none or --cache=directsync");
  if (options->detect_zeroes == IM_DETECT_ZEROES_UNMAP && !options->discard)
    return usage (error, "--detect-zeroes=unmap needs --discard=unmap");
  if (options->fork && options->foreground)
    return usage (error, "--fork and --foreground exclude each other");
  return check_sector_size (options->sector_size, error) &&
         check_block_size (options->block_size, error);
}

/* Where to listen is said at most once: by these, or by socket activation. */
static bool
names_place (const GPtrArray *used)
{
  static const char *const names[] = {"port",    "bind", "socket",
                                      "connect", "run",  "selinux-label"};
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    if (im_option_is_used (used, names[i]))
      return true;
  return false;
}

static bool
settle (Reading *reading, char **operands, int n, GError **error)
{
  ImOptions *options = reading->options;
  if (options->form & (IM_FORM_HELP | IM_FORM_VERSION))
    return true;
  if (options->format && strcmp (options->format, "help") == 0) {
    options->form = IM_FORM_FORMATS;
    return true;
  }
  options->names_place = names_place (reading->used);
  return check_forms (reading, error) && check_objects (options, error) &&
         (options->form != IM_FORM_NBD || im_option_rules_check (reading->used, error)) &&
         settle_o (reading, error) && take_operands (options, operands, n, error) &&
         settle_image_opts (options, error) && im_options_check (options, error);
}

ImOptions *
im_options_parse (const char *program, int argc, char **argv, GError **error)
{
  g_autoptr (ImOptions) options = g_new0 (ImOptions, 1);
  *options = (ImOptions){
      .form = IM_FORM_MOUNT,
      .metadata_cache = 32u << 20,
      .chunk_cache = 128u << 20,
      .port = 10809,
      .bind = "0.0.0.0",
      .shared = 1,
      .export_name = "",
      .handshake_limit = 10,
      .block_size = 512,
      .objects = g_ptr_array_new_with_free_func (im_object_free),
      .bitmaps = g_ptr_array_new (),
  };
  g_autoptr (GPtrArray) o_values = g_ptr_array_new ();
  g_autoptr (GPtrArray) used = g_ptr_array_new ();
  Reading reading = {.options = options, .o_values = o_values, .used = used};
  g_autofree char *base = g_path_get_basename (program);
  if (strcmp (base, "qemu-nbd") == 0)
    options->form = IM_FORM_NBD;
  if (!read_arguments (&reading, argc, argv, error) ||
      !settle (&reading, argv + optind, argc - optind, error))
    return NULL;
  return g_steal_pointer (&options);
}

void
im_options_free (ImOptions *options)
{
  if (!options)
    return;
  g_free (options->mount_options);
  g_ptr_array_unref (options->objects);
  im_node_options_free (options->node);
  g_ptr_array_unref (options->bitmaps);
  g_free (options);
}
