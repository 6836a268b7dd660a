package org.harexport.demo

import android.app.Activity
import android.os.Handler
import android.os.Looper
import android.view.View
import android.widget.TextView

/** A screen of the app, updated every [TICK_MS] milliseconds while it is visible. */
abstract class Screen(protected val root: View) {
    private val main = Handler(Looper.getMainLooper())
    private var isUpdating = false
    private val tick =
        object : Runnable {
            override fun run() {
                render()
                main.postDelayed(this, TICK_MS)
            }
        }

    /** Updates the views from the current state. */
    protected abstract fun render()

    /** Shows the screen and starts updating it. */
    open fun show() {
        root.visibility = View.VISIBLE
        if (isUpdating) return
        isUpdating = true
        tick.run()
    }

    /** Stops updating the screen. [rotating]: it is isUpdating again after a rotation. */
    open fun hide(rotating: Boolean) {
        isUpdating = false
        main.removeCallbacks(tick)
    }

    companion object {
        const val TICK_MS = 200L
    }
}

/** Sets the text only if it differs: screen readers announce every assignment. */
fun TextView.setTextIfChanged(value: CharSequence) {
    if (text.toString() != value.toString()) text = value
}

/** Shows [value], or hides the view if it is null. */
fun TextView.setTextOrHide(value: String?) {
    visibility = if (value == null) View.GONE else View.VISIBLE
    if (value != null) setTextIfChanged(value)
}

/** Returns a view of the layout. Throws IllegalStateException if it does not exist. */
fun <T : View> View.requireView(id: Int): T = checkNotNull(findViewById<T>(id)) { "the layout has no view $id" }

/** Returns a view of the layout. Throws IllegalStateException if it does not exist. */
fun <T : View> Activity.requireView(id: Int): T = checkNotNull(findViewById<T>(id)) { "the layout has no view $id" }
